"""What goes on beside a client with a kernel, and what that costs the client."""
