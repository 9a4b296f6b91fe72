-- want: ran out of instructions
function on.test()
  while true do pcall(function() while true do end end) end
end
