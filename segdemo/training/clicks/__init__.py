"""The click model's training: things out of class masks, a person who clicks on them, and a network that learns.

``things`` draws crops, ``simulation`` what a person would have done to them before, ``trainer`` fits and exports.
"""
