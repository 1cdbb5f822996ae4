//! The engine from its handle to a simulated device: what a caller relies on, seen through `submit` and `drain` alone.

mod engine {
    mod answers;
    mod ends;
    mod failures;
    mod guided;
    mod overload;
    mod probe;
    mod speech;
    mod support;
    mod tracing;
}
