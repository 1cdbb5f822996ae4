//! Nothing: only this package's dependency is of use. See the manifest.
