-- want: ran out of instructions
function on.test()
  while true do pcall(string.gsub, ("a"):rep(500), ".-.-.-b", "") end
end
