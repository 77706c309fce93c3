"""Parts of the command line; `napari_clusternet.cli` is the entry."""
