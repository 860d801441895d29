"""How much an index finds at each value of its search parameter: measured once, used to choose."""
