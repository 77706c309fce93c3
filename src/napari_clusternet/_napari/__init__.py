"""The plugin: the only home of napari, qtpy and magicgui."""
