"""Property tests fail for what they find, never for how long a busy machine took to look for it.

With CI set they look at the same examples every time, so that a run can be repeated; without it at new ones.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("patient")
