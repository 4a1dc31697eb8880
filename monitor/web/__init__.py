"""HTTP: probes, metrics and the status page.

`server.py` has the server: a thread of its own, uvicorn, and limits that hold for every client. `app.py` has the
routes and protects them from foreign web pages. `page.py` keeps what the status page shows, `page_status.py` turns it
into `/status.json`, and `page.html` is the page: one static file with its own script.

Promises: a probe never waits for the page, for a scrape or for another client. The worker never waits for a client.
No client holds memory, a thread or a connection for longer than the limits of `server.py` allow. Responses hold no
secrets. There is no TLS and no authentication, so bind to an address that only operators reach.

The door is `WebServer`, which serves what `make_app` returns.
"""
