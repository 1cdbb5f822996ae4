// Measures the loading of the addon alone. startup.mjs runs it with MLX's library already loaded. Prints milliseconds.

const begin = performance.now()
require(process.argv[2])
console.log(performance.now() - begin)
