# hint: on the CPU you name a function that only called the culprit: 'total' has what a function called as well, 'own' is its own
def answer(lab, pid):
    profile = lab.profile(0.6, hz=499, pid=pid)
    burns = profile.top(50).sort_values("total", ascending=False)["function"].iloc[0]

    waits = lab.offcpu(0.6, pid=pid).to_frame()
    path = waits.iloc[0]["user"].split(";")
    sleeps = path[path.index("turn") + 1]
    return burns, sleeps
