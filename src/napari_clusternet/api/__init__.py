"""The functions behind ``import napari_clusternet as cn``, a module for each kind of input.

`strokes` has what needs strokes, `regions` what needs none, `masks` what learns from full masks;
`listing` what there is to choose from.
"""
