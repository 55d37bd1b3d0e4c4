"""JSON and YAML that is nested too deeply, or that repeats itself."""

NESTED = ["[" * 3_000, '{"a": ' * 3_000, "[" * 200 + "]" * 200]
REPEATED = ["&a [*a]", "a: &a {b: *a}", "a: &a [1]\nb: *a\n"]
