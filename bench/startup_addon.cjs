// How long the addon itself takes to load. Run by startup.mjs with MLX's library in the process already, so that what
// MLX takes is not in it. Prints milliseconds.

const begin = performance.now()
require(process.argv[2])
console.log(performance.now() - begin)
