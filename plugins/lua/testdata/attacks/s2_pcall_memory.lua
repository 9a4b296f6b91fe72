-- want: ran out of memory
function on.test()
  while true do pcall(string.rep, "x", 1e9) end
end
