"""Shows: the napari plug-in where a clinician reviews, adjusts and approves.

``nerveplan view PATH`` opens the window (`viewer.window`); inside napari its panel is the widget "Review needle plans",
beside a reader and sample data (``napari.yaml``). `viewer.model` and `viewer.editing` hold what is shown and what a
person does, without a window toolkit; every other module draws.
"""
