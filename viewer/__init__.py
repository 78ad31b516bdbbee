"""Shows: the napari plug-in where a clinician reviews, adjusts and approves. Nothing is contributed yet."""
