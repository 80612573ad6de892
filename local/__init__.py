"""The whole stack on a laptop; see ``stack.py`` first."""
