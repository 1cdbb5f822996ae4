//! Empty: only the dependency of this package is used. See the manifest.
