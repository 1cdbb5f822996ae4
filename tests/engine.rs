//! The engine from its handle to a simulated device. The tests use only `submit` and `drain`, as a caller does.

mod engine {
    mod answers;
    mod constraints;
    mod ends;
    mod failures;
    mod overload;
    mod probe;
    mod support;
    mod tool_calls;
    mod tracing;
}
