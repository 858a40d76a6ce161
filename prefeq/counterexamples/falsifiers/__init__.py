"""How each reading of each claim is attacked: one module a claim, loaded when it is needed."""
