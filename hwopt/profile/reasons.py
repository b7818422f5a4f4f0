"""Reason codes of missing values in a profile, each with its meaning."""

# Codes of `energy_reason`, and their meanings.
REASONS = {
    "no_sensor": "the device has no readable energy sensor",
    "not_supported": "the driver does not support the reading on this device",
    "no_permission": "no permission to read the counter",
    "read_failed": "the driver failed to read the counter",
    "counter_stalled": "the counter did not advance while the device was busy",
    "counter_reset": "the counter decreased, and its range is not known",
    "device_lost": "the device was lost during the measurement",
    "other_process": "another process used the device",
    "throttled": "heat or the power supply throttled the clocks",
    "windows_disagree": "two windows differ by more than the protocol allows",
    "aliased": "the power alternates with a period that the sensor does not resolve",
    "too_short": "the window has too few steps of the counter, or too few passes",
    "unsteady": "the time of a pass in the window differs from the time measured afterwards",
    "not_planned": "the row was measured for time only",
    "not_run": "the workload could not be run",
}
