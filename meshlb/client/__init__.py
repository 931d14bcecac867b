"""The stub in the caller's process: picks a node locally for each call.

``routes`` holds what is shared by all channels of one process to one target: the table, the live
counts and the links to nodes; a channel's ``view`` picks from it. ``channel``, ``unary_call`` and
``running_call`` are the face for threads, ``aio_channel`` and ``aio_calls`` the one for asyncio;
``course`` and ``aio_course`` lead a call over its attempts. ``subscription`` keeps table and share
fresh from threads of its own in both worlds. Nothing here needs a controller to pick.
"""
