"""A GPU's base model: some 35 parameters with priors, fitted on operators and network totals together.

facts     facts about the chip from device.json
kernels   the kernel that an operator runs and its work: one function for each path
times     the parameters, the time of a kernel and its derivatives, the fit
powers    power of a kernel from its rates; power of a network from those of its kernels
model     the whole model with the interface of `hwopt.predict.device_model`
"""
