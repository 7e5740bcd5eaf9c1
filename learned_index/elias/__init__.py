"""The full model: encoder, index and classifiers, ranker, calibration, ensemble.

Import from the modules: configurations and presets (:mod:`.config`, :mod:`.presets`) need no torch.
"""
