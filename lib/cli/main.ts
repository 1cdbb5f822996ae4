#!/usr/bin/env node
// The command `mlx-serving`. `program` has its commands.

import { main } from './program'

main(process.argv.slice(2))
