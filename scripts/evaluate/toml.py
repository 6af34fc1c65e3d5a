"""TOML, by the reader that Python has from 3.11 on, or by the package that it came from."""

try:
    import tomllib
except ModuleNotFoundError:
    import tomli as tomllib

loads = tomllib.loads
