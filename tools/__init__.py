"""Programs for those who develop or measure the server: `bench` measures, `harness` has what the tests use too."""
