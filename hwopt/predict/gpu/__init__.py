"""A GPU's base model: some 35 parameters with priors, fitted on operators and network totals together.

facts     what device.json says of the chip
kernels   which kernel an operator runs, and how much work it is: one function for each path
times     the parameters, the time of a kernel and its derivatives, the fit
powers    power of a kernel from its rates; power of a network from those of its kernels
model     all of it behind the interface of `hwopt.predict.device_model`
"""
