"""The test suite; what the tests share is in tests.support."""
