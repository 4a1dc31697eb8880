"""The report of a backtest: one HTML file without scripts or network access.

The door is `page.page`. Python computes the figures and the charts (inline SVG); the layout is in the Jinja2 templates
(`*.html`), which escape every name, number and setting.
"""
