"""What weights are worth: metrics, calibration, operating points, localisation, leaks."""
