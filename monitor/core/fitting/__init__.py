"""From history to a model: keep a sample of the past, cut windows out of it, fit, calibrate, and judge the result.

    history   a sample of one partition's past, with the spans of its alerts; fills while the stream runs
    corpus    blocks of the past as training sees them, joined over partitions, and the windows cut out of them
    selection which blocks a model learns from, and why others are left out
    exclude   what a person leaves out
    rare      blocks of a first history that hardly any other block is like
    recurring patterns that come back, such as starts and cleanings, and are learned
    rest      whether machines rest, and how to recognise it
    profile   how each channel behaves while its sensor is healthy
    modes     which operating modes there are, and the usual errors of each
    recipe    sizes and steps of a fit; known without torch
    fit       Corpus -> Model: selects blocks, scales, optimises, calibrates
    forecast  the linear forecaster, in closed form
    errors    errors of clean windows, and what counts as their edge
    gate      why a candidate must not replace the model in use

`fit.prepare` and `fit.fit` are the doors. Guaranteed: the same corpus and recipe give the same weights on the same
machine. Nothing here knows a clock, a process or a file: `monitor.training` runs it in a child process.
"""
