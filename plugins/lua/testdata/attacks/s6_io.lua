-- want: io is not available
function on.test() return io.open("/etc/passwd") end
