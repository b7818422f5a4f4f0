"""Reason codes of missing values in a profile, each with its meaning."""

# Why there is no energy: the codes of `energy_reason`, each with what a reader should know.
REASONS = {
    "no_sensor": "the device has no energy sensor that can be read",
    "not_supported": "the driver says that this device does not support the reading",
    "no_permission": "the counter is there but may not be read",
    "read_failed": "the driver failed to answer, which says nothing about the device",
    "counter_stalled": "the counter did not advance while the device was busy",
    "counter_reset": "the counter went back and has no known range to wrap at",
    "device_lost": "the device disappeared while it was measured",
    "other_process": "another process used the device",
    "throttled": "heat or the power supply held the clocks down",
    "windows_disagree": "two windows disagree by more than the protocol allows",
    "aliased": "the work alternates at a period that the sensor does not resolve",
    "too_short": "the window spans too few updates of the counter, or too few passes",
    "unsteady": "a pass took another time while energy was read than when it was timed",
    "not_planned": "the row was measured for time only",
    "not_run": "the work could not be run",
}
