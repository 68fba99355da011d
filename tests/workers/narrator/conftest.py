from hypothesis import settings

# A slow machine is no fault of the code under test.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
