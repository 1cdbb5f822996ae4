//! The engine from its handle to a simulated device. The tests use only `submit` and `drain`, as a caller does.

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
