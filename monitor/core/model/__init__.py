"""The model: scales windows, reconstructs them with a variational autoencoder, and scores the difference.

    architecture   sizes of the network; known without torch
    model          the model as it is stored: sizes, scaling, calibration, sensor profile, weights; needs no torch
    scaling        readings -> the units that the network sees, per asset and channel
    vae            the network as it is trained
    forward        the network as it scores: the same arithmetic, laid out once per model
    errors         errors of a reconstructed window, over several horizons
    forecaster     forecasts of a window's newest steps from the steps before them, linear
    modes          the operating mode of a window, and the usual errors of each mode
    tolerance      deviations that do not count, by the rules of channels
    scorer         windows -> scores; the door
    new_assets     scaling of assets that the model does not know yet, learned as they run

`Scorer` holds no state of assets, so that all partitions share one. The only state here is that of
`new_assets.NewAssets`. Guaranteed: a window's score depends on the window, its scaling and the model, and not on which
windows share its batch. docs/model.md has the formulas and what was measured.
"""
