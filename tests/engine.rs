//! The engine from its handle to a device, which is simulated except in `on_mlx`. The tests use only the handle, as a
//! caller does.

mod engine {
    mod answers;
    mod constraints;
    mod ends;
    mod failures;
    mod held;
    #[cfg(feature = "mlx")]
    mod on_mlx;
    mod overload;
    mod probe;
    mod scripted;
    mod support;
    mod tool_calls;
    mod tracing;
    mod workers;
}
