"""What the measuring programs are made of: tools/loadtest, tools/compare and tools/soak are their command lines."""
