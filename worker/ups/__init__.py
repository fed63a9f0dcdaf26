"""The worklist of workitems (Unified Procedure Step): its rows, who hears of them, and how they follow the studies."""
