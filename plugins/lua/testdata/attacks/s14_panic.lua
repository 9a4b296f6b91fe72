-- want: host function broke
function on.test() pcall(host.panic) return "went on" end
