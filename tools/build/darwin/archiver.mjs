#!/usr/bin/env node
// Makes archives whose index Apple's linker can read. The archiver of a Linux system does not know the format of the members.

import { run } from './run.mjs'

run(process.env.MLX_SERVING_ZIG, ['ar', ...process.argv.slice(2)])
