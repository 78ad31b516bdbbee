"""Training of the two nets behind the built-in segmentation engine.

Nothing outside this sub-package imports it, and only :mod:`segmentation.training.nets`,
:mod:`segmentation.training.train`, :mod:`segmentation.training.export` and
:mod:`segmentation.training.evaluate` need torch or onnx (the extra ``train``).

The nets learn mostly from *synthetic* CT: label maps of real people are bent, given random tissue densities, degraded
like a real scan and cut like a real field of view. A generator process writes such patches into a ring buffer on disk,
any number of trainers read from it::

    python -m segmentation.training.sources --data DATA --cache CACHE         # once: label maps -> 1.5 mm sources
    python -m segmentation.training.generate --cache CACHE                    # keeps running, refills what was used
    python -m segmentation.training.train localise --cache CACHE --minutes 95 # resumes from CACHE/localise.pt
    python -m segmentation.training.train instance --cache CACHE --minutes 95
    python -m segmentation.training.export --cache CACHE --out segmentation/data
    python -m segmentation.training.evaluate --data DATA --models segmentation/data

``DATA`` defaults to the environment variable ``NERVEPLAN_TEST_DATA``, then to ``../shared/data``.

Conventions of every array here: axes ``(z, y, x)`` with the index growing toward Superior, Posterior and patient Left
(the LPS-aligned grid); intensities in Hounsfield units until :func:`segmentation.training.contract.intensity`.
"""
