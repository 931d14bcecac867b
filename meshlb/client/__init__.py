"""The stub in the caller's process: picks a node locally for each call.

``routes`` holds what is shared by all channels of one process to one target: the table, the live
counts and the links to nodes. ``channel``, ``unary_call`` and ``running_call`` are the face for
threads, ``aio_channel``, ``aio_course`` and ``aio_calls`` the one for asyncio. ``subscription``
keeps table and share fresh from threads of its own in both worlds. Nothing here needs a controller
to pick.
"""
