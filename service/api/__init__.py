"""REST, one file per noun; thin: decode, make an Action, call the door, encode."""
