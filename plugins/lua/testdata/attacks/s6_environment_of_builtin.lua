-- want: getfenv is not available
function on.test() return getfenv(1) end
