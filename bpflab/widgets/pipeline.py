class Pipeline: pass
def pipeline(x): pass
