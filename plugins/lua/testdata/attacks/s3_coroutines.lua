-- want: more than 64 coroutines
function on.test()
  local t = {}
  for i = 1, 1e6 do t[i] = coroutine.create(function() coroutine.yield() end) coroutine.resume(t[i]) end
end
