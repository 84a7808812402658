"""The profiles of wstpscript are those of the client library."""

from wstpserver.client.profile import (
    KEEP_ALIVE,
    KERNEL_ID,
    POOL,
    RESERVE,
    SERVER,
    Profile,
    ProfileError,
    default_profile_path,
    load_profile,
    user_file,
)

__all__ = [
    "KEEP_ALIVE", "KERNEL_ID", "POOL", "RESERVE", "SERVER", "Profile", "ProfileError", "default_profile_path",
    "load_profile", "user_file",
]  # fmt: skip
