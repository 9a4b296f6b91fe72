-- want: seen is a global and cannot be set inside a function
function on.test() seen = true end
