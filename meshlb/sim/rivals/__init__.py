"""One file per autoscaler that meshlb is held against; the file's name is its name.

Written anew from documentation, with the documented defaults. To write the next one: make
``NAME.py`` here with a docstring (what, source), a frozen ``Params`` dataclass whose fields all
have defaults and among them ``load``, the calls in flight that one replica should have, which
comparisons sweep, and

    def build(params, slots) -> Autoscaler
"""
